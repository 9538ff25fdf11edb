//! Names, and keys that go together.

use std::collections::BTreeSet;

use super::{Checker, member};
use crate::workflow::RECALL;
use crate::workflow::compile::{AGENT, RESERVED, budget, duration, lifecycle_ttl, retries, step_ttl};
use crate::workflow::document::StepDocument;

/// More could not be drawn, or checked while someone waits.
const MOST_STEPS: usize = 300;

impl Checker<'_> {
    pub(super) fn names(&mut self) {
        let document = self.document;
        if document.steps.is_empty() {
            self.fault("steps", "a workflow needs at least one step");
        }
        if document.steps.len() > MOST_STEPS {
            self.fault("steps", format!("a workflow has at most {MOST_STEPS} steps"));
        }
        if !is_name(&document.name) {
            self.fault("name", "a name is 1 to 40 lower-case letters, digits and underscores");
        }
        if let Err(message) = budget(document.budget.as_ref()) {
            self.fault("budget", message);
        }
        match lifecycle_ttl(document.ttl.as_ref()) {
            Err(message) => self.fault("ttl", message),
            Ok(ttl) => {
                for (key, bound) in [("draft", ttl.draft), ("qa", ttl.qa), ("approved", ttl.approved)] {
                    if bound.is_some_and(|bound| bound.is_zero()) {
                        self.fault(
                            &format!("ttl/{key}"),
                            format!("ttl.{key} is 0, so nothing could stay there"),
                        );
                    }
                }
            }
        }
        self.clusters();
        let mut seen = BTreeSet::new();
        for (at, step) in document.steps.iter().enumerate() {
            if !is_name(&step.id) || RESERVED.contains(&step.id.as_str()) {
                let reserved = RESERVED.join(", ");
                let message = format!(
                    "a step's id is 1 to 40 lower-case letters, digits and underscores, and none of {reserved}"
                );
                self.step_fault(at, "id", message);
            }
            if !seen.insert(&step.id) {
                self.step_fault(at, "id", "two steps have this id");
            }
            self.kind(at, step);
            self.known(at, step);
            self.bounds(at, step);
            self.together(at, step);
        }
    }

    fn clusters(&mut self) {
        for (name, cluster) in &self.document.clusters {
            let key = member("clusters", name);
            if !is_name(name) {
                let message = "a cluster's name is 1 to 40 lower-case letters, digits and underscores";
                self.fault(&key, message);
            }
            for (number, role) in cluster.roles.iter().enumerate() {
                self.known_role(&format!("{key}/roles/{number}"), role);
            }
            for (number, tool) in cluster.tools.iter().enumerate() {
                self.known_tool(&format!("{key}/tools/{number}"), tool);
            }
            for (kind, patterns) in
                [("allowed_reads", &cluster.allowed_reads), ("allowed_writes", &cluster.allowed_writes)]
            {
                for (number, pattern) in patterns.iter().enumerate() {
                    if !is_pattern(pattern) {
                        self.fault(
                            &format!("{key}/{kind}/{number}"),
                            format!("`{pattern}` is no pattern: write a JSON Pointer of which a segment may be `*` and the last one `**`"),
                        );
                    }
                }
            }
        }
    }

    fn known_role(&mut self, pointer: &str, role: &str) {
        if let Some(known) = self.catalog.roles.filter(|known| !known.contains(&role)) {
            self.fault(pointer, format!("no role is called `{role}`; known are {}", known.join(", ")));
        }
    }

    fn known_tool(&mut self, pointer: &str, tool: &str) {
        if !self.catalog.has_tool(tool) {
            let known = [self.catalog.tools.unwrap_or_default(), &[RECALL]].concat();
            self.fault(pointer, format!("no tool is called `{tool}`; known are {}", known.join(", ")));
        }
    }

    /// A step is done by a worker, opens branches, or says what is done next.
    fn kind(&mut self, at: usize, step: &StepDocument) {
        let kinds = [!step.worker.is_empty(), step.parallel.is_some(), step.orchestrate.is_some()];
        match kinds.into_iter().filter(|kind| *kind).count() {
            1 => {}
            0 => self.step_fault(at, "", "it has none of worker, parallel, orchestrate; it needs one"),
            _ => self.step_fault(at, "", "it has more than one of worker, parallel, orchestrate"),
        }
        if step.orchestrate.is_some() {
            self.orchestrator(at, step);
        }
        if step.parallel.is_none() {
            return;
        }
        let gated = step.gates.is_some();
        for (key, is_there) in [
            ("role", step.role.is_some()),
            ("cluster", step.cluster.is_some()),
            ("input", !step.input.is_empty()),
            ("patch", !step.patch.is_empty()),
            ("output_schema", !step.output_schema.is_null()),
            ("branches", !step.branches.is_empty()),
            ("approve", step.approve.is_some()),
            ("side_effect", step.side_effect),
            ("skip_if_exists", step.skip_if_exists.is_some()),
            ("compensate_with", step.compensate_with.is_some()),
            ("fallback", !step.fallback.is_null()),
            ("ttl", step.ttl.is_some()),
            ("gates", gated),
        ] {
            if is_there {
                self.step_fault(at, key, format!("a parallel step does no work of its own: it has no {key}"));
            }
        }
    }

    /// What an orchestrator's answers become is said by the clusters that it calls, and it approves nothing.
    fn orchestrator(&mut self, at: usize, step: &StepDocument) {
        for (key, is_there) in [
            ("role", step.role.is_some()),
            ("input", !step.input.is_empty()),
            ("patch", !step.patch.is_empty()),
            ("output_schema", !step.output_schema.is_null()),
            ("approve", step.approve.is_some()),
            ("compensate_with", step.compensate_with.is_some()),
        ] {
            if is_there {
                self.step_fault(at, key, format!("a step that orchestrates has no {key} of its own"));
            }
        }
    }

    fn known(&mut self, at: usize, step: &StepDocument) {
        let catalog = self.catalog;
        if !step.worker.is_empty() && !catalog.workers.contains(&step.worker.as_str()) {
            let known = catalog.workers.join(", ");
            self.step_fault(
                at,
                "worker",
                format!("no worker type is called `{}`; known are {known}", step.worker),
            );
        }
        if let Some(role) = &step.role {
            self.step_role(at, step, role);
        }
        let orchestrated = step.orchestrate.iter().flat_map(|it| it.clusters.iter().enumerate());
        let named = orchestrated.map(|(number, name)| (format!("orchestrate/clusters/{number}"), name));
        for (key, name) in named.chain(step.cluster.iter().map(|name| ("cluster".to_owned(), name))) {
            if !self.document.clusters.contains_key(name) {
                let known: Vec<&str> = self.document.clusters.keys().map(String::as_str).collect();
                self.step_fault(
                    at,
                    &key,
                    format!("no cluster is called `{name}`; known are {}", known.join(", ")),
                );
            }
        }
        if let Some(it) = &step.orchestrate {
            if let Some(role) = &it.role {
                self.known_role(&format!("steps/{at}/orchestrate/role"), role);
            }
            let own = step.cluster.as_ref().and_then(|name| Some((name, self.document.clusters.get(name)?)));
            let own = own.filter(|(_, cluster)| !cluster.tools.is_empty());
            for (number, tool) in it.tools.iter().enumerate() {
                let pointer = format!("orchestrate/tools/{number}");
                self.known_tool(&format!("steps/{at}/{pointer}"), tool);
                if let Some((name, _)) = own.filter(|(_, cluster)| !cluster.tools.contains(tool)) {
                    self.step_fault(
                        at,
                        &pointer,
                        format!("the tool `{tool}` is not in the cluster `{name}`"),
                    );
                }
            }
        }
        self.known_gates(at, step);
    }

    fn known_gates(&mut self, at: usize, step: &StepDocument) {
        let (Some(gates), Some(known)) = (&step.gates, self.catalog.gates) else { return };
        for (side, names) in [("before", &gates.before), ("after", &gates.after)] {
            let named =
                names.iter().enumerate().filter_map(|(number, gate)| Some((number, gate.required()?)));
            for (number, name) in named {
                if !known.iter().any(|gate| gate.name == name) {
                    let known: Vec<&str> = known.iter().map(|gate| gate.name).collect();
                    self.step_fault(
                        at,
                        &format!("gates/{side}/{number}"),
                        format!("no gate policy is called `{name}`; known are {}", known.join(", ")),
                    );
                }
            }
        }
    }

    fn step_role(&mut self, at: usize, step: &StepDocument, role: &str) {
        if step.worker != AGENT {
            self.step_fault(at, "role", "only steps of the worker `agent` have a role");
        }
        if let Some(known) = self.catalog.roles.filter(|known| !known.contains(&role)) {
            self.step_fault(
                at,
                "role",
                format!("no role is called `{role}`; known are {}", known.join(", ")),
            );
        }
        let cluster = step.cluster.as_ref().and_then(|name| Some((name, self.document.clusters.get(name)?)));
        if let Some((name, cluster)) = cluster
            && !cluster.roles.is_empty()
            && !cluster.roles.iter().any(|known| known == role)
        {
            self.step_fault(at, "cluster", format!("the role `{role}` is not in the cluster `{name}`"));
        }
    }

    fn bounds(&mut self, at: usize, step: &StepDocument) {
        for (key, fault) in [
            ("retries", retries(&step.retries).err()),
            ("deadline", duration("deadline", &step.deadline).err()),
            ("escalation_due", duration("escalation_due", &step.escalation_due).err()),
            ("budget", budget(step.budget.as_ref()).err()),
            ("ttl", step_ttl(step.ttl.as_ref()).err()),
        ] {
            if let Some(message) = fault {
                self.step_fault(at, key, message);
            }
        }
        let ttl = step_ttl(step.ttl.as_ref()).unwrap_or_default();
        let deadline = duration("deadline", &step.deadline).ok();
        for (key, bound) in
            [("deadline", deadline), ("ttl/waiting", ttl.waiting), ("ttl/running", ttl.running)]
        {
            if bound.is_some_and(|bound| bound.is_zero()) {
                let message = format!("{} is 0, so no try could end in time", key.replace('/', "."));
                self.step_fault(at, key, message);
            }
        }
        if step.max_visits == Some(0) {
            self.step_fault(at, "max_visits", "max_visits is 0, so no run could come here");
        }
        if let Some(it) = &step.orchestrate {
            for (key, bound) in [("max_calls", it.max_calls), ("max_loops", it.max_loops)] {
                if bound == 0 {
                    self.step_fault(at, &format!("orchestrate/{key}"), format!("{key} must be at least 1"));
                }
            }
            if it.clusters.is_empty() && it.tools.is_empty() {
                self.step_fault(at, "orchestrate", "it may call neither a cluster nor a tool");
            }
        }
    }

    fn together(&mut self, at: usize, step: &StepDocument) {
        if step.on_exhausted.is_some() && step.max_visits.is_none() && step.orchestrate.is_none() {
            self.step_fault(at, "on_exhausted", "without max_visits it is never exhausted");
        }
        if step.on_timeout.is_some() && step.ttl.is_none() {
            self.step_fault(at, "on_timeout", "without ttl it never times out");
        }
        match &step.side_effect_reason {
            Some(_) if step.side_effect => {
                self.step_fault(
                    at,
                    "side_effect_reason",
                    "it says why there is no side effect, and there is one",
                );
            }
            Some(reason) if reason.trim().is_empty() => {
                self.step_fault(at, "side_effect_reason", "the reason is empty");
            }
            _ => {}
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// RFC 6901, but not the whole document.
pub(super) fn is_pointer(text: &str) -> bool {
    let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    text.starts_with('/') && escapes
}

fn is_pattern(text: &str) -> bool {
    let last = text.rfind('/').unwrap_or(0);
    is_pointer(text) && !text[..last].split('/').any(|segment| segment == "**")
}
