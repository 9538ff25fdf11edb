//! The configured providers, each behind its guards.

use std::collections::BTreeMap;
use std::sync::Arc;

use calls::{Secret, Secrets};
use fleet::Fault;
use model::Failure;
use providers::{
    Anthropic, BreakerPolicy, Cassette, Chain, Guarded, HttpConfig, HttpWorker, OpenAi, OpenAiConfig,
    Program, Provider, Script, Tool,
};

use crate::config::{ProviderSection, Section};

/// Opens every provider; by name each with those that stand in for it.
pub(crate) fn open(config: &Section) -> Result<BTreeMap<String, Chain>, Fault> {
    let breaker = config.breaker;
    let policy = BreakerPolicy {
        failures: breaker.failures,
        pause: breaker.pause,
        longest_pause: breaker.longest_pause,
    };
    let secrets = secrets(config);
    let guarded = config
        .providers
        .iter()
        .map(|(name, section)| {
            let cassette = cassette(name, section)?;
            let provider = kind(name, section, config.callbacks.as_deref())?;
            let guarded = Guarded::new(name, provider, section.price, section.timeout, policy);
            Ok((name.as_str(), Arc::new(guarded.with_cassette(cassette).without(secrets.clone()))))
        })
        .collect::<Result<BTreeMap<_, _>, Fault>>()?;
    let chain = |(name, section): (&String, &ProviderSection)| {
        let links = std::iter::once(name).chain(&section.fallback).map(|link| {
            guarded.get(link.as_str()).map(Arc::clone).ok_or_else(|| {
                Fault::usage(format!("agent.providers.{name}.fallback: there is no provider `{link}`"))
            })
        });
        Ok((name.clone(), Chain::new(links.collect::<Result<_, _>>()?)))
    };
    config.providers.iter().map(chain).collect()
}

/// Every secret of the providers: no text that is kept may have them.
pub(crate) fn secrets(config: &Section) -> Secrets {
    let mut secrets = Vec::new();
    for section in config.providers.values() {
        secrets.extend(section.openai.iter().map(|kind| kind.api_key.clone()));
        secrets.extend(section.anthropic.iter().map(|kind| kind.api_key.clone()));
        secrets.extend(section.mcp.iter().map(|kind| kind.token.clone()));
        secrets.extend(section.http.iter().map(|kind| kind.secret.clone()));
        let environments = section.mcp.iter().map(|kind| &kind.environment);
        let environments = environments.chain(section.command.iter().map(|kind| &kind.environment));
        secrets.extend(
            environments.flat_map(|values| values.values()).map(|value| Secret::from(value.as_str())),
        );
    }
    secrets.into_iter().collect()
}

fn cassette(name: &str, section: &ProviderSection) -> Result<Option<Cassette>, Fault> {
    match (&section.record, &section.replay) {
        (Some(_), Some(_)) => {
            Err(Fault::usage(format!("agent.providers.{name}: give either `record` or `replay`")))
        }
        (Some(folder), None) => Ok(Some(Cassette::Record(folder.clone()))),
        (None, Some(folder)) => Ok(Some(Cassette::Replay(folder.clone()))),
        (None, None) => Ok(None),
    }
}

fn kind(name: &str, section: &ProviderSection, callbacks: Option<&str>) -> Result<Box<dyn Provider>, Fault> {
    let ProviderSection { openai, anthropic, mcp, http, command, script, .. } = section.clone();
    let idle = section.idle;
    let mut kinds: Vec<Result<Box<dyn Provider>, Failure>> = Vec::new();
    // Without a stream nothing comes before the whole answer is there.
    let patient = |config: &OpenAiConfig| if config.stream { idle } else { section.timeout };
    kinds.extend(openai.map(|config| OpenAi::new(config.clone(), patient(&config)).map(boxed)));
    kinds.extend(anthropic.map(|config| Anthropic::new(config, idle).map(boxed)));
    kinds.extend(mcp.map(|config| Tool::new(config).map(boxed)));
    let worker = |config: HttpConfig| {
        let worker = HttpWorker::new(&config, section.patience)?;
        Ok(match callbacks {
            Some(gateway) => boxed(worker.calling_back(gateway, section.silence)),
            None => boxed(worker),
        })
    };
    kinds.extend(http.map(worker));
    kinds.extend(command.map(|config| Program::new(config).map(boxed)));
    kinds.extend(script.map(|config| Ok(boxed(Script::new(config)))));
    if kinds.len() != 1 {
        return Err(Fault::usage(format!(
            "agent.providers.{name} needs exactly one of openai, anthropic, mcp, http, command, script"
        )));
    }
    let wrong = |failure: Failure| Fault::usage(format!("agent.providers.{name}: {}", failure.reason));
    kinds.pop().ok_or_else(|| Fault::bug("a provider without a kind"))?.map_err(wrong)
}

fn boxed(provider: impl Provider + 'static) -> Box<dyn Provider> {
    Box::new(provider)
}
