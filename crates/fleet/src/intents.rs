//! Which intent serves a source, and with which version of its workflow: the record's answer, kept for a few seconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use record::{EVERY_TENANT, Intent, Record};
use tokio::sync::Mutex;

/// How old a kept answer may be.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// What is wanted, and which versions are active: tenant → workflow → version.
#[derive(Debug, Default)]
struct Wanted {
    intents: Vec<Intent>,
    active: HashMap<String, HashMap<String, String>>,
}

impl Wanted {
    /// The version that a tenant's runs of a workflow begin with.
    fn version(&self, tenant: &str, workflow: &str) -> Option<&String> {
        let of = |tenant: &str| self.active.get(tenant)?.get(workflow);
        of(tenant).or_else(|| of(EVERY_TENANT))
    }

    fn serving(&self, tenant: &str, source: &str) -> Option<Intent> {
        let mut intent = self.intents.iter().find(|intent| intent.serves(tenant, source))?.clone();
        if let Some(version) = self.version(tenant, &intent.workflow)
            && *version != intent.pipeline_version
        {
            intent.pipeline_version.clone_from(version);
        }
        Some(intent)
    }
}

/// An answer, and when it was had.
type Kept = (Instant, Arc<Wanted>);

/// The active intents and workflows, re-read every five seconds.
#[derive(Debug, Clone)]
pub struct Intents {
    record: Record,
    kept: Arc<Mutex<Option<Kept>>>,
}

impl Intents {
    /// Reads through this record.
    #[must_use]
    pub fn new(record: Record) -> Self {
        Self { record, kept: Arc::default() }
    }

    /// How long a process may go on with a version after another was activated.
    #[must_use]
    pub fn kept_for() -> Duration {
        KEPT_FOR
    }

    async fn wanted(&self) -> Result<Arc<Wanted>, record::Error> {
        let mut kept = self.kept.lock().await;
        if let Some((at, wanted)) = kept.as_ref()
            && at.elapsed() < KEPT_FOR
            && !wanted.intents.is_empty()
        {
            return Ok(Arc::clone(wanted));
        }
        let intents = self.record.active_intents().await?;
        let wanted = Arc::new(Wanted { intents, active: self.record.active_workflows().await? });
        *kept = Some((Instant::now(), Arc::clone(&wanted)));
        Ok(wanted)
    }

    /// Forgets what is kept, after this process changed it.
    pub async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    /// Whether a planner has registered any.
    ///
    /// # Errors
    /// [`record::Error`] where nothing is kept and the record does not answer.
    pub async fn any(&self) -> Result<bool, record::Error> {
        Ok(!self.wanted().await?.intents.is_empty())
    }

    /// The intent that serves a source, with the version that is active for the tenant.
    ///
    /// # Errors
    /// As [`Intents::any`].
    pub async fn serving(&self, tenant: &str, source: &str) -> Result<Option<Intent>, record::Error> {
        Ok(self.wanted().await?.serving(tenant, source))
    }

    /// The version that a tenant's runs of a workflow begin with; `None` where none is active.
    ///
    /// # Errors
    /// As [`Intents::any`].
    pub async fn active_version(
        &self,
        tenant: &str,
        workflow: &str,
    ) -> Result<Option<String>, record::Error> {
        Ok(self.wanted().await?.version(tenant, workflow).cloned())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_tenants_own_version_goes_before_everybodys_and_that_before_the_intents() {
        let intent = Intent {
            intent_id: Uuid::nil(),
            tenant: "*".to_owned(),
            region: String::new(),
            source_pattern: "*".to_owned(),
            purpose: String::new(),
            pipeline_version: "w@1-a".to_owned(),
            workflow: "w".to_owned(),
        };
        let of = |version: &str| HashMap::from([("w".to_owned(), version.to_owned())]);
        let mut wanted = Wanted { intents: vec![intent], active: HashMap::new() };
        let version = |wanted: &Wanted, tenant| wanted.serving(tenant, "s").unwrap().pipeline_version;
        assert_eq!(version(&wanted, "t"), "w@1-a");
        wanted.active.insert("*".to_owned(), of("w@2-b"));
        wanted.active.insert("t".to_owned(), of("w@3-c"));
        assert_eq!((version(&wanted, "t"), version(&wanted, "u")), ("w@3-c".to_owned(), "w@2-b".to_owned()));
        assert_eq!(wanted.version("t", "other"), None);
    }
}
