//! Private `redis-server` and PostgreSQL servers for local use: `tidemill up` and the tests run on them.
//!
//! A private server lives in one folder, listens on a Unix socket in it, and dies with the process that started it, even
//! when that is killed: the kernel signals the server when its parent's spawning thread ends (`setpriv --pdeathsig`), and
//! that thread lives as long as the process.

mod error;
mod postgres;
mod redis;
mod server;
mod spawn;

pub use error::Error;
pub use postgres::{PostgresOptions, PrivatePostgres, give_to_postgres};
pub use redis::{PrivateRedis, RedisOptions};
pub use server::Signal;
pub use spawn::{Supervised, spawn_supervised};
