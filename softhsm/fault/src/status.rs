//! What a control file says, as values: the JSON of `hsmd-fault status`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::attributes::Condition;
use crate::codes::Code;
use crate::functions;
use crate::memory::{FOR_EVER, Memory, Plan, Record};
use crate::quirks::Quirk;

/// The faults that are set, and what was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Where the token is.
    pub token: TokenState,
    /// The quirks that are set, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quirks: Vec<String>,
    /// The functions that were called or that a fault is set for, by name.
    pub functions: BTreeMap<String, FunctionStatus>,
}

/// Where the token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TokenState {
    /// In its slot.
    Present,
    /// Removed.
    Away,
}

/// What was counted of a function, and the faults that are set for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionStatus {
    /// All calls, made by any process since the counters were set to zero.
    pub calls: u64,
    /// How many of them only asked for the length of an output.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub length_queries: u64,
    /// How many got a chosen code.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// How many hung, released or not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hung: u64,
    /// How many had their output corrupted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub corrupted: u64,
    /// How many had their template refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// The code that calls will get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail: Option<FailStatus>,
    /// The calls that will hang.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hang: Option<PlanStatus>,
    /// The calls whose output will be corrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<PlanStatus>,
    /// The templates that will be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuse: Option<RefuseStatus>,
    /// By how many microseconds calls are slower.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delay_micros: u64,
    /// By how many more at most.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub jitter_micros: u64,
}

/// A code that calls will get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailStatus {
    /// The code's name.
    pub code: String,
    /// Whether the call is made first.
    pub after: bool,
    /// Which calls.
    #[serde(flatten)]
    pub plan: PlanStatus,
}

/// The templates that will be refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefuseStatus {
    /// Those with this attribute, or with this value of it.
    pub attribute: String,
    /// The code's name.
    pub code: String,
    /// Whether the lock is kept.
    pub keeps_lock: bool,
    /// Which calls.
    #[serde(flatten)]
    pub plan: PlanStatus,
}

/// Which of the coming calls a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// How many pass first.
    pub skip: u32,
    /// How many are hit then; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

impl Status {
    pub(crate) fn read(memory: &Memory) -> Self {
        let functions = functions::NAMES
            .iter()
            .zip(&memory.functions)
            .map(|(name, record)| ((*name).to_owned(), FunctionStatus::read(record)))
            .filter(|(_, status)| *status != FunctionStatus::default())
            .collect();
        Self {
            token: if memory.is_away() { TokenState::Away } else { TokenState::Present },
            quirks: Quirk::named(memory.quirks.load(Ordering::Acquire)),
            functions,
        }
    }

    /// What was counted of a function; all zero if it was never called.
    pub fn function(&self, name: &str) -> FunctionStatus {
        self.functions.get(name).cloned().unwrap_or_default()
    }
}

impl FunctionStatus {
    fn read(record: &Record) -> Self {
        let value = |word: &AtomicU64| word.load(Ordering::Acquire);
        let fail = PlanStatus::read(&record.fail).map(|plan| FailStatus {
            code: Code(value(&record.fail_code)).to_string(),
            after: value(&record.fail_after) != 0,
            plan,
        });
        let refuse = PlanStatus::read(&record.refuse).map(|plan| RefuseStatus {
            attribute: Condition {
                attribute: value(&record.refuse_attribute),
                value: match value(&record.refuse_value) {
                    0 => None,
                    number => Some(number == 2),
                },
            }
            .to_string(),
            code: Code(value(&record.refuse_code)).to_string(),
            keeps_lock: value(&record.refuse_keeps_lock) != 0,
            plan,
        });
        Self {
            calls: value(&record.calls),
            length_queries: value(&record.length_queries),
            failed: value(&record.failed),
            hung: value(&record.hung),
            corrupted: value(&record.corrupted),
            refused: value(&record.refused),
            fail,
            hang: PlanStatus::read(&record.hang),
            corrupt: PlanStatus::read(&record.corrupt),
            refuse,
            delay_micros: value(&record.delay_micros),
            jitter_micros: value(&record.jitter_micros),
        }
    }
}

impl PlanStatus {
    fn read(plan: &Plan) -> Option<Self> {
        match plan.read() {
            (_, 0) => None,
            (skip, left) => Some(Self { skip, times: (left != FOR_EVER).then_some(left) }),
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
