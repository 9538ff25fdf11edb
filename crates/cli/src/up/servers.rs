//! The servers of a local fleet: its own, or those of the configured URLs.

use std::path::Path;

use fleet::Fault;
use fleet::config::Settings;
use local::{PostgresOptions, PrivatePostgres, PrivateRedis, RedisOptions};

pub(super) struct Servers {
    pub(super) redis_url: String,
    pub(super) database_url: String,
    redis: Option<PrivateRedis>,
    postgres: Option<PrivatePostgres>,
}

impl Servers {
    pub(super) async fn start(folder: &Path, settings: &Settings) -> Result<Self, Fault> {
        let fault = |e: local::Error| Fault::unavailable(e.to_string());
        let shared = &settings.shared;
        let (redis, redis_url) = if shared.redis.url.is_some() || shared.redis.url_file.is_some() {
            (None, shared.redis.url()?)
        } else {
            let options = RedisOptions { folder: folder.join("redis"), appendonly: true, extra: vec![] };
            let redis = PrivateRedis::start(options).await.map_err(fault)?;
            let url = redis.url();
            (Some(redis), url)
        };
        let (postgres, database_url) = if shared.database.url.is_some() || shared.database.url_file.is_some()
        {
            (None, shared.database.url()?)
        } else {
            let options = PostgresOptions { folder: folder.join("postgres"), durable: true, extra: vec![] };
            let postgres = PrivatePostgres::start(options).await.map_err(fault)?;
            let url = postgres.url();
            (Some(postgres), url)
        };
        Ok(Self { redis_url, database_url, redis, postgres })
    }

    /// A fault where one of the fleet's own servers has ended.
    pub(super) fn tend(&mut self) -> Option<Fault> {
        let ended = |name: &str| {
            Some(Fault::unavailable(format!("the private {name} ended; its log is in the fleet's folder")))
        };
        if self.redis.as_mut().is_some_and(PrivateRedis::has_ended) {
            return ended("redis-server");
        }
        if self.postgres.as_mut().is_some_and(PrivatePostgres::has_ended) {
            return ended("PostgreSQL");
        }
        None
    }

    pub(super) async fn stop(&mut self) {
        if let Some(postgres) = &mut self.postgres {
            postgres.stop().await;
        }
        if let Some(redis) = &mut self.redis {
            redis.stop().await;
        }
    }
}
