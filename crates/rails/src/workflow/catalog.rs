//! What exists outside a document, as far as its checks need it.

use super::LifecycleTtl;

/// What exists outside a document. What is `None` is not known here, and not checked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Catalog<'a> {
    /// The worker types.
    pub workers: &'a [&'a str],
    /// The roles that agents are configured with.
    pub roles: Option<&'a [&'a str]>,
    /// Those of the roles whose provider acts outside: an MCP tool, an HTTP endpoint, a local command. Their steps have a
    /// side effect unless the document says why not.
    pub acting_roles: &'a [&'a str],
    /// The gate policies.
    pub gates: Option<&'a [KnownGate<'a>]>,
    /// The tools, by name or by a pattern such as `server.*`; [`RECALL`] is always known.
    pub tools: Option<&'a [&'a str]>,
    /// Those of the tools that are declared to have no side effect, with a reason.
    pub harmless_tools: &'a [&'a str],
    /// The outlets that bound the stages of what is meant for them.
    pub outlets: &'a [KnownOutlet<'a>],
}

/// The built-in tool that searches what was embedded, of the run's tenant.
pub const RECALL: &str = "recall";

impl Catalog<'_> {
    /// Whether there is such a tool, as far as that is known here.
    pub(crate) fn has_tool(&self, tool: &str) -> bool {
        let known = |known: &&str| crate::glob_matches(known, tool);
        tool == RECALL || self.tools.is_none_or(|tools| tools.iter().any(known))
    }

    /// Whether a tool has no side effect: only what is declared so has none.
    pub(crate) fn is_harmless(&self, tool: &str) -> bool {
        tool == RECALL || self.harmless_tools.contains(&tool)
    }
}

/// An outlet, as far as it bounds the lifecycle of content.
#[derive(Debug, Clone, Copy)]
pub struct KnownOutlet<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it is that of steps that name none.
    pub usual: bool,
    /// How long content may stay at each stage that is meant for it.
    pub ttl: LifecycleTtl,
}

/// A gate policy, as far as a document's checks need it.
#[derive(Debug, Clone, Copy)]
pub struct KnownGate<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it asks a person each time, whose yes is an approval.
    pub asks: bool,
}
