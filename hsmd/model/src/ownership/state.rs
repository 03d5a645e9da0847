//! What the token, the databases and the folders hold, and what a daemon knows of them.

/// A signed event; `text` tells two events of one number apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Event {
    /// The sequence number.
    pub number: u8,
    /// Which of the texts ever signed with this number.
    pub text: u8,
    /// Whether it taints its predecessor.
    pub taint: bool,
}

/// The record of one state folder on the token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// The epoch of the claim.
    pub epoch: u8,
    /// Its owner has given it up.
    pub released: bool,
    /// The events that are not known to be in the database, or the newest one; none where it is a key pair.
    pub events: Vec<Event>,
}

/// What lies on the token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Token {
    /// The records, by folder.
    pub records: [Option<Record>; 2],
    /// The private keys of generations, a bit each.
    pub private: u8,
}

/// A database: the rows, the claims, and who holds the lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Database {
    /// The committed events.
    pub log: Vec<Event>,
    /// Every (epoch, folder) that was claimed with this database.
    pub claims: Vec<(u8, usize)>,
    /// The holder of the advisory lock.
    pub lock: Option<usize>,
}

/// A state folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Folder {
    /// The epoch of its last claim.
    pub epoch: u8,
    /// The epoch of the last claim behind which it has merged what the records held, where a start asks for it.
    pub merged: u8,
    /// The journal.
    pub events: Vec<Event>,
    /// The event whose rotation or taint was begun last, where the startup table asks for it.
    pub begun: Option<u8>,
    /// The whole log, where a start may need it.
    pub log: Vec<Event>,
}

/// Where a daemon is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    /// Not running.
    Down,
    /// It takes its database's lock.
    Lock,
    /// The first look, after `C_Initialize`: on without a claim, by a claim, or not at all.
    Open,
    /// A claim: the look.
    ClaimLook,
    /// The claim: the change.
    ClaimMake,
    /// `claim_wait` goes by.
    ClaimWait,
    /// The look after it.
    ClaimCheck,
    /// One more change: the look.
    ChangeLook,
    /// The change.
    Change,
    /// The superseded owner's lease + 1 s go by.
    LeaseWait,
    /// `C_Finalize`, `C_Initialize`, look.
    Reinitialise,
    /// The events of all records become one log.
    Merge,
    /// Serving, with nothing to do.
    Idle,
    /// The look before an event is signed.
    SignLook,
    /// The event is signed.
    SignEvent,
    /// The look before the record is replaced.
    RecordLook,
    /// The record holds the event.
    RecordMake,
    /// With a flaw only: the old record is gone, the new one not there yet.
    RecordRemake,
    /// The journal's file holds the event.
    Journal,
    /// The look before COMMIT.
    CommitLook,
    /// COMMIT.
    Commit,
    /// The look before a key is destroyed.
    DestroyLook,
    /// The key is destroyed, where the token does that.
    Destroy,
    /// The answer.
    Answer,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Daemon {
    /// Where it is.
    pub at: At,
    /// Started with `--take-over-token`.
    pub take_over: bool,
    /// What it sees of the token.
    pub view: Token,
    /// It takes its view for the newest. An own change makes it so, whatever others changed before.
    pub fresh: bool,
    /// The epoch that it claimed.
    pub epoch: u8,
    /// It has looked within its lease.
    pub lease: bool,
    /// It has seen a foreign epoch that is not below its own.
    pub shut: bool,
    /// It has served, and answers again when it may.
    pub serving: bool,
    /// It owns the token by a claim of this start, and has done nothing under it.
    pub claimed: bool,
    /// It taints while it waits for its database.
    pub alone: bool,
    /// It shows readers what it has before it has looked at the token.
    pub early: bool,
    /// The verified log, with the events that are not in the database.
    pub log: Vec<Event>,
    /// How many of them are known to be in the database.
    pub stored: usize,
    /// How many of them readers are shown.
    pub published: usize,
    /// The release check refuses generations below.
    pub dead_below: u8,
    /// A taint, or a rotation, that is being worked on.
    pub request: Option<bool>,
    /// The event that is signed and not in the log yet.
    pub event: Option<Event>,
    /// The generation that signed a reply on its way out.
    pub reply: Option<u8>,
    /// Something foreign has changed since the look before the newest change.
    pub foreign_changed: bool,
    /// The other has looked, or its lease has expired, since the newest change.
    pub other_looked: bool,
    /// The other had a job open when the newest change was made, and has it still.
    pub other_busy: bool,
}

impl Daemon {
    /// A process that does not run.
    pub fn down() -> Self {
        Self {
            at: At::Down,
            take_over: false,
            view: Token::default(),
            fresh: false,
            epoch: 0,
            lease: false,
            shut: false,
            serving: false,
            claimed: false,
            alone: false,
            early: false,
            log: Vec::new(),
            stored: 0,
            published: 0,
            dead_below: 0,
            request: None,
            event: None,
            reply: None,
            foreign_changed: false,
            other_looked: false,
            other_busy: false,
        }
    }

    /// Between a look and the change for which it looked.
    pub(super) fn has_open_job(&self) -> bool {
        matches!(
            self.at,
            At::ClaimMake
                | At::Change
                | At::SignEvent
                | At::RecordMake
                | At::RecordRemake
                | At::Destroy
        )
    }

    /// Whether it may sign, hand over and answer readers.
    pub(super) fn is_admitted(&self) -> bool {
        self.serving && self.lease && !self.shut
    }

    /// The number of the head, pending events included.
    pub(super) fn head(&self) -> u8 {
        self.log.last().map_or(0, |event| event.number)
    }
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The token.
    pub token: Token,
    /// The databases.
    pub databases: [Database; 2],
    /// Which database each daemon uses.
    pub uses: [usize; 2],
    /// The state folders.
    pub folders: [Folder; 2],
    /// The processes.
    pub daemons: [Daemon; 2],
    /// What a reader has seen.
    pub reader: Vec<Event>,
    /// Generations whose taint has been answered, a bit each.
    pub answered: u8,
    /// Texts ever signed, by number.
    pub texts: [u8; 6],
    /// Rotations and taints still to be asked for.
    pub admin_requests: u8,
    /// Crashes left.
    pub crashes: u8,
    /// Claims left.
    pub claims: u8,
    /// Starts with `--take-over-token` left.
    pub take_overs: u8,
    /// What should never have happened, if it has.
    pub wrong: Option<&'static str>,
}

impl State {
    /// A look: the view becomes the truth, unless the daemon takes it for the truth already. Whether
    /// it was renewed.
    pub(super) fn look(&mut self, me: usize) -> bool {
        let renewed = !self.daemons[me].fresh;
        if renewed {
            self.daemons[me].view = self.token.clone();
            self.daemons[me].fresh = true;
        }
        self.daemons[1 - me].other_looked = true;
        renewed
    }

    /// After `C_Initialize` nothing is hidden.
    pub(super) fn reinitialise(&mut self, me: usize) {
        self.daemons[me].fresh = false;
        self.look(me);
    }

    /// A change of ours: the other's view is out of date, and ours counts as the newest although it
    /// may lack what the other has changed since our look.
    pub(super) fn change(&mut self, me: usize, change: impl Fn(&mut Token)) {
        change(&mut self.token);
        let other_busy = self.daemons[1 - me].has_open_job();
        let daemon = &mut self.daemons[me];
        change(&mut daemon.view);
        daemon.fresh = true;
        daemon.other_looked = false;
        daemon.other_busy = other_busy;
        let other = &mut self.daemons[1 - me];
        other.fresh = false;
        other.foreign_changed = true;
    }

    /// The database of a daemon.
    pub(super) fn database(&mut self, me: usize) -> &mut Database {
        &mut self.databases[self.uses[me]]
    }

    pub(super) fn blame(&mut self, what: &'static str) {
        self.wrong.get_or_insert(what);
    }
}
