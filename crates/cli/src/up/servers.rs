//! The servers of a local fleet: its own, or those of the configured URLs.

use std::path::Path;

use fleet::Fault;
use fleet::config::{Database, Redis};
use local::{PostgresOptions, PrivatePostgres, PrivateRedis, RedisOptions};

use super::restarts::Restarts;

pub(super) struct Servers {
    pub(super) redis_url: String,
    pub(super) database_url: String,
    redis: Option<(PrivateRedis, Restarts)>,
    postgres: Option<(PrivatePostgres, Restarts)>,
}

impl Servers {
    pub(super) async fn start(folder: &Path, redis: &Redis, database: &Database) -> Result<Self, Fault> {
        let fault = |e: local::Error| Fault::unavailable(e.to_string());
        let (redis, redis_url) = if redis.is_set() {
            (None, redis.url()?)
        } else {
            let options = RedisOptions { folder: folder.join("redis"), appendonly: true, extra: vec![] };
            let redis = PrivateRedis::start(options).await.map_err(fault)?;
            let url = redis.url();
            (Some((redis, Restarts::new())), url)
        };
        let (postgres, database_url) = if database.is_set() {
            (None, database.url()?)
        } else {
            let options = PostgresOptions { folder: folder.join("postgres"), durable: true, extra: vec![] };
            let postgres = PrivatePostgres::start(options).await.map_err(fault)?;
            let url = postgres.url();
            (Some((postgres, Restarts::new())), url)
        };
        Ok(Self { redis_url, database_url, redis, postgres })
    }

    /// Restarts those of the fleet's own servers that died. They answer at the same address.
    pub(super) async fn tend(&mut self) {
        if let Some((redis, restarts)) = &mut self.redis {
            notice("redis-server", redis.has_ended(), restarts);
            if restarts.is_due() {
                report("redis-server", redis.restart().await, restarts);
            }
        }
        if let Some((postgres, restarts)) = &mut self.postgres {
            notice("PostgreSQL", postgres.has_ended(), restarts);
            if restarts.is_due() {
                report("PostgreSQL", postgres.restart().await, restarts);
            }
        }
    }

    pub(super) async fn stop(&mut self) {
        if let Some((postgres, _)) = &mut self.postgres {
            postgres.stop().await;
        }
        if let Some((redis, _)) = &mut self.redis {
            redis.stop().await;
        }
    }
}

fn notice(name: &str, ended: bool, restarts: &mut Restarts) {
    if ended && !restarts.waits() {
        let pause = restarts.died();
        eprintln!("the private {name} ended; started again in {pause:?}");
    }
}

fn report(name: &str, started: Result<(), local::Error>, restarts: &mut Restarts) {
    match started {
        Ok(()) => restarts.started(),
        Err(error) => {
            let pause = restarts.died();
            eprintln!("the private {name} does not start: {error}; tried again in {pause:?}");
        }
    }
}
