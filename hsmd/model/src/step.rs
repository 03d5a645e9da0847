//! The steps, in the order in which they are taken, and the crash points that stand behind them.

/// One indivisible step of a process. A process can die after each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// `init` takes the lock and looks at log, intent and token.
    InitLock,
    /// It notes the intent.
    InitIntent,
    /// It finds or makes key 0.
    InitKey0,
    /// And key 1.
    InitKey1,
    /// It signs event 0.
    InitSign,
    /// It journals event 0 with the intent.
    InitJournal,
    /// INSERT of event 0.
    InitInsert,
    /// COMMIT of event 0.
    InitCommit,
    /// The identity's journal takes over.
    InitFinish,
    /// The intent is discarded.
    InitDiscard,

    /// `serve` takes the lock, or waits for it.
    Lock,
    /// In standby: `lock_grace` + 1 s go by.
    Wait,
    /// The PIN marker is written.
    Marker,
    /// Login; the log is read and the journal merged from file and token.
    Open,
    /// INSERT of what the journal holds and the log lacks.
    StartInsert,
    /// COMMIT of that.
    StartCommit,
    /// The start-up table.
    Decide,

    /// Back on a new connection with an expired lease: `lock_grace` + 1 s go by.
    WaitOutGrace,

    /// Step 1: the expectation.
    Check,
    /// The lock is proved and the database's clock read.
    Prove,
    /// Step 2: the rotation is noted in the journal's file.
    Begin,
    /// And on the token.
    CopyBegun,
    /// Key n+2 is looked for.
    FindKey,
    /// The private part of an incomplete or double n+2 is destroyed.
    DropPrivate,
    /// And the public part.
    DropPublic,
    /// Key n+2 is made.
    MakeKey,
    /// Steps 3 and 4: event n+1 is made and signed.
    Sign,
    /// Step 5: the token's copy of the journal.
    CopyEvent,
    /// And the file.
    Journal,
    /// Step 6: INSERT.
    Insert,
    /// COMMIT.
    Commit,
    /// The log has a new head; the journal forgets that a rotation has begun.
    Committed,
    /// Step 7: the head's key signs.
    Activate,
    /// Only with [`crate::Flaw::NameBeforeKey`]: the key follows the name.
    ActivateKey,
    /// Step 8: the private part of an earlier pair goes.
    RetirePrivate,
    /// The public part goes; confirmed by a find.
    RetirePublic,
    /// The answer.
    Answer,
}

impl Step {
    /// All steps.
    pub const ALL: [Self; 37] = {
        use Step as S;
        [
            S::InitLock,
            S::InitIntent,
            S::InitKey0,
            S::InitKey1,
            S::InitSign,
            S::InitJournal,
            S::InitInsert,
            S::InitCommit,
            S::InitFinish,
            S::InitDiscard,
            S::Lock,
            S::Wait,
            S::Marker,
            S::Open,
            S::StartInsert,
            S::StartCommit,
            S::Decide,
            S::WaitOutGrace,
            S::Check,
            S::Prove,
            S::Begin,
            S::CopyBegun,
            S::FindKey,
            S::DropPrivate,
            S::DropPublic,
            S::MakeKey,
            S::Sign,
            S::CopyEvent,
            S::Journal,
            S::Insert,
            S::Commit,
            S::Committed,
            S::Activate,
            S::ActivateKey,
            S::RetirePrivate,
            S::RetirePublic,
            S::Answer,
        ]
    };

    /// The `crash_point!` that the code reaches when this step is done; none behind steps that leave
    /// no trace outside of the process.
    pub const fn crash_point(self) -> Option<&'static str> {
        Some(match self {
            Self::InitIntent => "init::intent",
            Self::InitKey0 => "init::key-0",
            Self::InitKey1 => "init::key-1",
            Self::InitSign => "init::signed",
            Self::InitJournal => "init::journaled",
            Self::InitCommit => "init::committed",
            Self::InitFinish => "init::journal",
            Self::InitDiscard => "init::done",
            Self::Lock => "start::locked",
            Self::Wait => "start::waited",
            Self::Marker => "pin::before-login",
            Self::Open => "start::opened",
            Self::StartCommit => "start::appended",
            Self::Decide => "start::decided",
            Self::Begin => "rotation::begun",
            Self::CopyBegun => "rotation::begun-copied",
            Self::MakeKey => "rotation::key-made",
            Self::Sign => "rotation::signed",
            Self::CopyEvent => "rotation::copied",
            Self::Journal => "rotation::journaled",
            Self::InitInsert | Self::StartInsert | Self::Insert => "rotation::before-commit",
            Self::Commit => "rotation::committed",
            Self::Committed => "rotation::cleared",
            Self::Activate => "rotation::activated",
            Self::DropPrivate | Self::RetirePrivate => "token::between-destroys",
            Self::RetirePublic => "rotation::retired",
            Self::InitLock
            | Self::WaitOutGrace
            | Self::Check
            | Self::Prove
            | Self::FindKey
            | Self::DropPublic
            | Self::ActivateKey
            | Self::Answer => return None,
        })
    }
}

/// The names of all crash points, sorted, each once.
pub fn kill_points() -> Vec<&'static str> {
    let mut names: Vec<_> = Step::ALL.into_iter().filter_map(Step::crash_point).collect();
    names.extend(crate::ownership::CRASH_POINTS);
    names.sort_unstable();
    names.dedup();
    names
}
