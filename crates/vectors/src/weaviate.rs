//! Weaviate: one store for the whole fleet, behind HTTP.
//!
//! Spoken to by its REST and GraphQL interfaces through reqwest, as the endpoint of [`crate::OpenAi`] is: the rails decide
//! when and how often something is tried again. Each trend is an object under its own id; tenant, model, run and time of
//! its event are properties, by which a search is filtered. A search is as exact as the class's index, which is
//! approximate where a filter lets very many objects through.
//!
//! # Who is to blame
//!
//! | what happened                                                            | what it is                         |
//! | ------------------------------------------------------------------------ | ---------------------------------- |
//! | no connection, no answer in time, broken off, too long, not Weaviate's   | an outage                          |
//! | 401, 403, 404, 408, 429, 5xx; a class that was altered; read-only shards | an outage                          |
//! | an object is refused while the server is well                            | transient, of that object alone    |
//! | 400, 413, 422; a search is refused; an answer about other objects        | transient                          |
//! | a vector without a direction                                             | permanent, of that entry alone     |
//! | at the start: a class that does not fit                                  | permanent                          |

mod class;
mod http;
mod objects;
mod search;

use std::collections::HashMap;
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use self::class::Class;
use self::http::{Http, SHORT};
use self::objects::Batch;
use self::search::{Counted, Found, Held};
use crate::embedder::normalise;
use crate::{Entry, Error, Neighbour, Query, Taken, VectorStore};

/// Objects of one request: 128 vectors of 1,536 dimensions are some 2 MB.
const BATCH: usize = 128;
/// Bytes of an answer for one row, its vector left out.
const ROW: usize = 4096;

/// Where the server is, and what the class is called.
#[derive(Clone)]
pub struct WeaviateConfig {
    /// Up to and without `/v1`, such as `http://127.0.0.1:8080`.
    pub url: String,
    /// The class that trends are kept in; it begins with a capital letter.
    pub class: String,
    /// Sent as a bearer token. Never shown, also not by `Debug`.
    pub api_key: Option<String>,
    /// For one request, from connecting to the last byte.
    pub timeout: Duration,
}

impl std::fmt::Debug for WeaviateConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WeaviateConfig")
            .field("url", &self.url)
            .field("class", &self.class)
            .field("api_key", &self.api_key.as_ref().map(|_| "…"))
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// A vector store in a Weaviate server.
pub struct Weaviate {
    http: Http,
    class: String,
}

impl std::fmt::Debug for Weaviate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Weaviate").field("server", &self.http.name()).field("class", &self.class).finish()
    }
}

impl Weaviate {
    /// Sends nothing yet.
    ///
    /// # Errors
    ///
    /// Permanent: the URL is none, or the class has no name that Weaviate takes.
    pub fn new(config: &WeaviateConfig) -> Result<Self, Error> {
        if !class::is_name(&config.class) {
            return Err(Error::permanent(format!(
                "`{}` is no name of a class: a capital letter, then letters, digits and `_`",
                config.class
            )));
        }
        Ok(Self { http: Http::new(config)?, class: config.class.clone() })
    }

    /// Makes the class where there is none, else checks that it fits; so for the length of the vectors in it, where
    /// `dimensions` tells that of the vectors to come.
    ///
    /// # Errors
    ///
    /// Permanent: the class does not fit. An outage: the server is away, or refuses our key.
    pub async fn prepare(&self, dimensions: Option<usize>) -> Result<(), Error> {
        self.ensure_class().await?;
        let (Some(dimensions), Some(present)) = (dimensions, self.dimensions().await?) else { return Ok(()) };
        if present == dimensions {
            return Ok(());
        }
        Err(Error::permanent(format!(
            "the class {} of {} does not fit: its vectors have {present} dimensions, those to come {dimensions}",
            self.class,
            self.http.name()
        )))
    }

    /// The server's version.
    ///
    /// # Errors
    ///
    /// An outage.
    pub async fn version(&self) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Meta {
            version: String,
        }
        let answer = self.get("v1/meta").await?;
        Ok(self.http.read::<Meta>(&answer)?.version)
    }

    /// Which of these ids have no vector of this model.
    ///
    /// # Errors
    ///
    /// As [`VectorStore::nearest`].
    pub async fn missing(&self, ids: &[Uuid], model: &str) -> Result<Vec<Uuid>, Error> {
        let mut missing = Vec::new();
        for ids in ids.chunks(BATCH) {
            let question = search::held(&self.class, ids, model);
            let answer = self.question(&question, SHORT + ids.len() * ROW).await?;
            let held: Vec<Held> = self.rows(&answer, "Get", &self.class)?;
            missing.extend(ids.iter().filter(|id| !held.iter().any(|held| held.id() == **id)));
        }
        Ok(missing)
    }

    async fn get(&self, path: &str) -> Result<http::Answer, Error> {
        self.http.ask::<Value>(Method::GET, path, None, SHORT).await
    }

    /// A class that is not there would be guessed by Weaviate from the first object, and be another one than is needed.
    async fn ensure_class(&self) -> Result<(), Error> {
        let answer = self.get(&format!("v1/schema/{}", self.class)).await?;
        if answer.status != StatusCode::NOT_FOUND {
            return self.fits(&self.http.read(&answer)?);
        }
        let definition = class::definition(&self.class);
        let made = self.http.ask(Method::POST, "v1/schema", Some(&definition), SHORT).await?;
        if made.status.is_success() {
            tracing::warn!(
                class = self.class,
                "Weaviate had no such class: it was made, and is empty; `tidemill vectors rebuild` fills it from the record"
            );
            return Ok(());
        }
        // Another process may have been faster.
        let answer = self.get(&format!("v1/schema/{}", self.class)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(Error::outage(self.http.refused(&made).to_string()));
        }
        self.fits(&self.http.read(&answer)?)
    }

    fn fits(&self, class: &Class) -> Result<(), Error> {
        match class.misfit(&self.class) {
            None => Ok(()),
            Some(misfit) => Err(Error::permanent(format!(
                "the class {} of {} does not fit: {misfit}",
                self.class,
                self.http.name()
            ))),
        }
    }

    /// The length of the vectors that are there; none where there are none.
    async fn dimensions(&self) -> Result<Option<usize>, Error> {
        #[derive(Deserialize)]
        struct Listed {
            #[serde(default)]
            objects: Option<Vec<Object>>,
        }
        #[derive(Deserialize)]
        struct Object {
            vector: Option<Vec<f32>>,
        }
        let path = format!("v1/objects?class={}&limit=1&include=vector", self.class);
        let answer = self.http.ask::<Value>(Method::GET, &path, None, 4 * SHORT).await?;
        let listed: Listed = self.http.read(&answer)?;
        let mut vectors = listed.objects.into_iter().flatten().filter_map(|object| object.vector);
        Ok(vectors.next().map(|vector| vector.len()).filter(|length| *length > 0))
    }

    /// The class as [`Self::ensure_class`] has it; while a fleet runs, one that was altered is nobody's fault among the
    /// jobs.
    async fn class_is_there(&self) -> Result<(), Error> {
        self.ensure_class().await.map_err(|error| Error::outage(error.to_string()))
    }

    async fn question(&self, question: &str, limit: usize) -> Result<search::Answer, Error> {
        let answer =
            self.http.ask(Method::POST, "v1/graphql", Some(&json!({ "query": question })), limit).await?;
        let answer: search::Answer = self.http.read(&answer)?;
        match answer.complaint() {
            None => Ok(answer),
            Some(complaint) => {
                let complaint = crate::hashing::prefix(&complaint, ROW);
                Err(Error::transient(format!("{} refuses the question: {complaint}", self.http.name())))
            }
        }
    }

    fn rows<T: serde::de::DeserializeOwned>(
        &self,
        answer: &search::Answer,
        function: &str,
        part: &str,
    ) -> Result<Vec<T>, Error> {
        answer
            .rows(function, part)
            .map_err(|why| Error::outage(format!("{} answered what cannot be read: {why}", self.http.name())))
    }

    /// An answer that can be read, and tells of something else than was asked.
    fn beside_the_point(&self, why: &str) -> Error {
        Error::transient(format!("{} answered {why}", self.http.name()))
    }

    async fn find(&self, query: Query<'_>) -> Result<Vec<Neighbour>, Error> {
        let same_limit = search::same_limit(query.k);
        let limit = SHORT + same_limit.saturating_mul(2 * ROW);
        let answer = self.question(&search::nearest(&self.class, &query), limit).await?;
        let neighbours = |answer: &search::Answer, part: &str, limit: usize| {
            let rows: Vec<Found> = self.rows(answer, "Get", part)?;
            search::neighbours(rows, &query, limit).map_err(|why| self.beside_the_point(&why))
        };
        let mut found = neighbours(&answer, search::FOUND, query.k)?;
        if let Some((at, run)) = query.before {
            let micros = at.timestamp_micros();
            search::received(&found, |received| received < micros)
                .map_err(|why| self.beside_the_point(&why))?;
            let mut same = neighbours(&answer, search::SAME, same_limit)?;
            let whole = same.len() < same_limit;
            same.retain(|near| near.run_id < run);
            if !whole && same.len() < query.k {
                let question = search::same_moment(&self.class, &query, at, run);
                same = neighbours(&self.question(&question, limit).await?, search::SAME, query.k)?;
                same.retain(|near| near.run_id < run);
            }
            search::received(&same, |received| received == micros)
                .map_err(|why| self.beside_the_point(&why))?;
            found.extend(same);
        }
        found.sort_by(search::order);
        found.truncate(query.k);
        Ok(found)
    }

    /// Sends entries of one length; tells what was said against each.
    async fn send(&self, entries: &[&Entry]) -> Result<objects::Results, Error> {
        let batch = Batch::of(&self.class, entries);
        let limit = objects::max_bytes(entries);
        let answer = self.http.ask(Method::POST, "v1/batch/objects", Some(&batch), limit).await?;
        let results =
            objects::results(self.http.read(&answer)?, entries).map_err(|why| self.beside_the_point(&why))?;
        let refused: Vec<Uuid> =
            results.iter().filter(|(_, against)| against.is_some()).map(|(id, _)| *id).collect();
        if !refused.is_empty() {
            // A server that is unwell (read-only, for one) says so of each object alone.
            self.check().await?;
            // What is refused by the vector index is stored all the same, and would fail every search that meets it.
            self.remove(&refused).await?;
        }
        Ok(results)
    }

    /// Reads `/v1/schema/…/shards`; a key that may not, or a server that has no such address, tells nothing.
    async fn shards_are_writable(&self) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Shard {
            name: String,
            status: String,
        }
        let answer = self.get(&format!("v1/schema/{}/shards", self.class)).await?;
        let shards: Vec<Shard> = self.http.read(&answer).unwrap_or_default();
        match shards.iter().find(|shard| shard.status == "READONLY") {
            None => Ok(()),
            Some(shard) => Err(Error::outage(format!(
                "{} takes nothing: the shard {} of {} is READONLY (its disk is full, most likely)",
                self.http.name(),
                shard.name,
                self.class
            ))),
        }
    }
}

/// Groups of entries that may go in one request: of one length, for in an empty class the first vector decides it, and
/// without an id twice, of which the last counts.
fn groups(entries: &[Entry]) -> Vec<Vec<&Entry>> {
    let mut last: HashMap<Uuid, &Entry> = HashMap::with_capacity(entries.len());
    let mut order = Vec::with_capacity(entries.len());
    for entry in entries.iter().filter(|entry| normalise(&mut entry.vector.clone())) {
        if last.insert(entry.id, entry).is_none() {
            order.push(entry.id);
        }
    }
    let mut lengths: Vec<(usize, Vec<&Entry>)> = Vec::new();
    for entry in order.iter().filter_map(|id| last.get(id).copied()) {
        match lengths.iter_mut().find(|(length, _)| *length == entry.vector.len()) {
            Some((_, group)) => group.push(entry),
            None => lengths.push((entry.vector.len(), vec![entry])),
        }
    }
    lengths.iter().flat_map(|(_, group)| group.chunks(BATCH).map(<[&Entry]>::to_vec)).collect()
}

impl VectorStore for Weaviate {
    fn upsert<'a>(&'a self, entries: &'a [Entry]) -> BoxFuture<'a, Result<Vec<Taken>, Error>> {
        Box::pin(async move {
            if entries.is_empty() {
                return Ok(Vec::new());
            }
            self.class_is_there().await?;
            let mut results = objects::Results::with_capacity(entries.len());
            for group in groups(entries) {
                results.extend(self.send(&group).await?);
            }
            let taken = |entry: &Entry| match results.get(&entry.id) {
                Some(None) => Ok(()),
                Some(Some(against)) => {
                    let against = crate::hashing::prefix(against, ROW);
                    Err(Error::transient(format!("Weaviate refuses the object {}: {against}", entry.id)))
                }
                None => Err(Error::permanent(format!("the vector of trend {} has no direction", entry.id))),
            };
            Ok(entries.iter().map(taken).collect())
        })
    }

    fn nearest<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Vec<Neighbour>, Error>> {
        Box::pin(async move {
            if !normalise(&mut query.vector.to_vec()) {
                return Err(Error::permanent("the vector of the query has no direction"));
            }
            if query.k == 0 {
                return Ok(Vec::new());
            }
            self.find(query).await
        })
    }

    fn remove<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Result<(), Error>> {
        #[derive(Deserialize)]
        struct Removed {
            results: Count,
        }
        #[derive(Deserialize)]
        struct Count {
            failed: u64,
        }
        Box::pin(async move {
            for ids in ids.chunks(BATCH) {
                let chosen = json!({ "path": ["id"], "operator": "ContainsAny", "valueTextArray": ids });
                let body = json!({ "match": { "class": self.class, "where": chosen }, "output": "minimal" });
                let answer = self.http.ask(Method::DELETE, "v1/batch/objects", Some(&body), SHORT).await?;
                let failed = self.http.read::<Removed>(&answer)?.results.failed;
                if failed > 0 {
                    return Err(Error::outage(format!(
                        "{} did not remove {failed} objects",
                        self.http.name()
                    )));
                }
            }
            Ok(())
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let answer = self.get("v1/.well-known/ready").await?;
            if !answer.status.is_success() {
                return Err(Error::outage(self.http.refused(&answer).to_string()));
            }
            self.class_is_there().await?;
            self.shards_are_writable().await
        })
    }

    fn len(&self) -> BoxFuture<'_, Result<usize, Error>> {
        Box::pin(async move {
            let answer = self.question(&search::count(&self.class), SHORT).await?;
            let rows: Vec<Counted> = self.rows(&answer, "Aggregate", &self.class)?;
            Ok(search::counted(&rows))
        })
    }
}
