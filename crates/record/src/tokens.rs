//! Tokens: who may do what, for which tenant. Only the SHA-256 of a secret is stored.

use chrono::{DateTime, Utc};
use model::sha256;
use serde::Serialize;
use sqlx::Row;
use uuid::Uuid;

use crate::{Error, Record};

/// The roles that a token can have.
pub const ROLES: [&str; 4] = ["ingest", "read", "moderate", "operate"];

/// A stored token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Its id.
    pub token_id: Uuid,
    /// The tenant it belongs to.
    pub tenant: String,
    /// Who it is, in decisions and logs.
    pub name: String,
    /// What it may do.
    pub roles: Vec<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

const COLUMNS: &str = "token_id, tenant, name, roles, created_at, revoked_at";

fn read(row: &sqlx::postgres::PgRow) -> Token {
    Token {
        token_id: row.get("token_id"),
        tenant: row.get("tenant"),
        name: row.get("name"),
        roles: row.get("roles"),
        created_at: row.get("created_at"),
        revoked_at: row.get("revoked_at"),
    }
}

impl Record {
    /// Stores a token for a secret that the caller made and alone keeps.
    ///
    /// # Errors
    /// [`Error::Sql`]; of an unknown role, refused by the schema.
    pub async fn add_token(
        &self,
        tenant: &str,
        name: &str,
        roles: &[String],
        secret: &str,
    ) -> Result<Token, Error> {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "INSERT INTO tokens (token_id, tenant, name, roles, secret_hash) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (secret_hash) DO UPDATE SET roles = EXCLUDED.roles RETURNING {COLUMNS}"
        )))
        .bind(Uuid::now_v7())
        .bind(tenant)
        .bind(name)
        .bind(roles)
        .bind(&sha256(&[secret.as_bytes()]).0[..])
        .fetch_one(&self.pool)
        .await
        .map(|row| read(&row))
        .map_err(Error::sql("a token"))
    }

    /// The token of a secret, unless it was revoked.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn token_of(&self, secret: &str) -> Result<Option<Token>, Error> {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM tokens WHERE secret_hash = $1 AND revoked_at IS NULL"
        )))
        .bind(&sha256(&[secret.as_bytes()]).0[..])
        .fetch_optional(&self.pool)
        .await
        .map(|row| row.as_ref().map(read))
        .map_err(Error::sql("the look-up of a token"))
    }

    /// Every token, newest first.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM tokens ORDER BY token_id DESC")))
            .fetch_all(&self.pool)
            .await
            .map(|rows| rows.iter().map(read).collect())
            .map_err(Error::sql("the tokens"))
    }

    /// Revokes a token; `false` where there is none or it was revoked before.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn revoke_token(&self, id: Uuid) -> Result<bool, Error> {
        sqlx::query("UPDATE tokens SET revoked_at = now() WHERE token_id = $1 AND revoked_at IS NULL")
            .bind(id)
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected() == 1)
            .map_err(Error::sql("the revocation of a token"))
    }
}
