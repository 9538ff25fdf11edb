//! The scripts, loaded once and run by their hash.

use redis::Script;

/// Every script of the hand-over protocol; each file tells its keys, arguments and answer.
pub(crate) struct Scripts {
    pub(crate) hand_over: Script,
    pub(crate) claim: Script,
    pub(crate) heartbeat: Script,
    pub(crate) give_back: Script,
    pub(crate) promote: Script,
    pub(crate) leave: Script,
    pub(crate) delete_unheld: Script,
    pub(crate) page: Script,
    pub(crate) survey: Script,
    pub(crate) add_retry: Script,
    pub(crate) others: Script,
}

impl std::fmt::Debug for Scripts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripts")
    }
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            hand_over: Script::new(include_str!("lua/hand_over.lua")),
            claim: Script::new(include_str!("lua/claim.lua")),
            heartbeat: Script::new(include_str!("lua/heartbeat.lua")),
            give_back: Script::new(include_str!("lua/give_back.lua")),
            promote: Script::new(include_str!("lua/promote.lua")),
            leave: Script::new(include_str!("lua/leave.lua")),
            delete_unheld: Script::new(include_str!("lua/delete_unheld.lua")),
            page: Script::new(include_str!("lua/page.lua")),
            survey: Script::new(include_str!("lua/survey.lua")),
            add_retry: Script::new(include_str!("lua/add_retry.lua")),
            others: Script::new(include_str!("lua/others.lua")),
        }
    }
}
