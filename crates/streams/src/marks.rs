//! Marks: which publications were confirmed last. They stand in Redis so that a record which was put back from a backup,
//! and lacks them, is noticed.

use redis::AsyncCommands;

use crate::names::CONFIRMED;
use crate::{Error, Streams};

/// How many are kept. One alone could be of a publisher that lagged behind the others.
const KEPT: isize = 100;

impl Streams {
    /// Marks a publication as confirmed.
    ///
    /// # Errors
    /// Unavailable: a restore is noticed all the same, by other marks.
    pub async fn mark_confirmed(&self, publication: &str) -> Result<(), Error> {
        let key = self.inner.names.plain(CONFIRMED);
        let mut connection = self.connection("a mark").await?;
        redis::pipe()
            .lpush(&key, publication)
            .ignore()
            .ltrim(&key, 0, KEPT - 1)
            .ignore()
            .query_async(&mut connection)
            .await
            .map_err(Error::redis("a mark"))
    }

    /// The publications that were confirmed last, newest first.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn confirmed_last(&self) -> Result<Vec<String>, Error> {
        let mut connection = self.connection("a look at the marks").await?;
        connection
            .lrange(self.inner.names.plain(CONFIRMED), 0, -1)
            .await
            .map_err(Error::redis("a look at the marks"))
    }

    /// Forgets them: the record that stands now is the truth.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn forget_confirmed(&self) -> Result<(), Error> {
        let mut connection = self.connection("forgetting the marks").await?;
        connection.del(self.inner.names.plain(CONFIRMED)).await.map_err(Error::redis("forgetting the marks"))
    }
}
