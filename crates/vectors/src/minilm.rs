//! all-MiniLM-L6-v2 in this process, on candle.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use futures::future::{BoxFuture, try_join_all};
use tokenizers::{Tokenizer, TruncationParams};
use tokio::sync::Semaphore;

use crate::embedder::{normalise, off_thread};
use crate::hashing::prefix;
use crate::model_folder::{self, ModelFile};
use crate::{Embedder, Error, batches};

const MODEL: &str = "all-MiniLM-L6-v2";
/// What the model was trained to read: `max_seq_length` of its `sentence_bert_config.json`.
const MAX_TOKENS: usize = 256;
/// Bytes of a text that are read at most. 256 tokens of prose are 1–2 KiB; without a limit, megabytes would be cut
/// into tokens only to be thrown away.
const MAX_BYTES: usize = 16 * 1024;

/// all-MiniLM-L6-v2: 384 dimensions, English above all, the first 256 tokens of a text.
///
/// # Threads
///
/// By itself candle spreads each operation over all cores and spins where they wait for each other, which on a machine
/// that others use too is slower than one core alone. Started with `RAYON_NUM_THREADS=1` in its environment a process
/// runs whole passes side by side instead, one a core; otherwise one at a time. Measured on two cores that others used
/// too (`examples/measure.rs`): a text of 25 tokens takes 15 ms alone and 4 to 6 in batches, against 20 and 15.
#[derive(Debug)]
pub struct MiniLm {
    network: Arc<Network>,
    /// One permit for each pass that may run beside others.
    passes: Arc<Semaphore>,
    dimensions: usize,
}

struct Network {
    tokenizer: Tokenizer,
    bert: BertModel,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

impl MiniLm {
    /// Reads the model from a folder that [`model_folder::fetch`] filled. What is used is what was verified: the
    /// files are hashed and parsed from the same bytes.
    ///
    /// Blocks for some 0.2 s and holds the 90 MB of weights twice for that time.
    ///
    /// # Errors
    ///
    /// Permanent, naming the file: it is missing, unreadable or not the pinned one.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let config: Config = serde_json::from_slice(&model_folder::read_verified(folder, ModelFile::Config)?)
            .map_err(|error| broken("configuration", error))?;
        let tokenizer = load_tokenizer(&model_folder::read_verified(folder, ModelFile::Tokenizer)?)?;
        let weights = model_folder::read_verified(folder, ModelFile::Weights)?;
        let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)
            .map_err(|error| broken("weights", error))?;
        let bert = BertModel::load(weights, &config).map_err(|error| broken("weights", error))?;
        Ok(Self {
            network: Arc::new(Network { tokenizer, bert }),
            passes: Arc::new(Semaphore::new(passes_side_by_side())),
            dimensions: config.hidden_size,
        })
    }
}

impl Embedder for MiniLm {
    fn model(&self) -> &str {
        MODEL
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, Error>> {
        Box::pin(async move {
            let texts: Vec<String> = texts.iter().map(|text| prefix(text, MAX_BYTES).to_owned()).collect();
            let network = Arc::clone(&self.network);
            let tokens = off_thread(move || network.tokens(texts)).await?;
            let lengths: Vec<usize> = tokens.iter().map(Vec::len).collect();
            let mut vectors = vec![Vec::new(); tokens.len()];
            let tokens = Arc::new(tokens);
            let passes =
                batches::by_length(&lengths).into_iter().map(|batch| self.pass(Arc::clone(&tokens), batch));
            for (index, vector) in try_join_all(passes).await?.into_iter().flatten() {
                vectors[index] = vector;
            }
            Ok(vectors)
        })
    }
}

impl MiniLm {
    /// The vectors of a batch, each with the index of its text.
    async fn pass(
        &self,
        tokens: Arc<Vec<Vec<u32>>>,
        batch: Vec<usize>,
    ) -> Result<Vec<(usize, Vec<f32>)>, Error> {
        let permit = Arc::clone(&self.passes)
            .acquire_owned()
            .await
            .map_err(|_| Error::transient("the embedder is shutting down"))?;
        let network = Arc::clone(&self.network);
        off_thread(move || {
            // Held by the work, not by the caller, who may stop waiting.
            let _permit = permit;
            let rows: Vec<&[u32]> = batch.iter().map(|&index| tokens[index].as_slice()).collect();
            let mut pooled =
                network.pooled(&rows).map_err(|error| Error::permanent(format!("{MODEL}: {error}")))?;
            if !pooled.iter_mut().all(|vector| normalise(vector)) {
                return Err(Error::permanent(format!("{MODEL} answered a vector without a direction")));
            }
            Ok(batch.into_iter().zip(pooled).collect())
        })
        .await
    }
}

/// As many as have candle's threads to themselves.
fn passes_side_by_side() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / candle_core::utils::get_num_threads()).max(1)
}

impl Network {
    fn tokens(&self, texts: Vec<String>) -> Result<Vec<Vec<u32>>, Error> {
        let encoded = self
            .tokenizer
            .encode_batch_fast(texts, true)
            .map_err(|error| Error::permanent(format!("cannot cut a text into tokens: {error}")))?;
        Ok(encoded.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// The sums of the token vectors of each row. The division by the number of tokens, which would make them means
    /// (`1_Pooling` of the model), cancels in the normalisation.
    fn pooled(&self, rows: &[&[u32]]) -> candle_core::Result<Vec<Vec<f32>>> {
        let width = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let shape = (rows.len(), width);
        // Padding is id 0, and the mask hides it from attention and pooling alike.
        let padded = |row: &&[u32]| row.iter().copied().chain(std::iter::repeat(0)).take(width).collect();
        let ids: Vec<u32> = rows.iter().flat_map(|row| -> Vec<u32> { padded(row) }).collect();
        let mask: Vec<f32> = rows
            .iter()
            .flat_map(|row| (0..width).map(|place| if place < row.len() { 1.0 } else { 0.0 }))
            .collect();
        let ids = Tensor::from_vec(ids, shape, &Device::Cpu)?;
        let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?;
        let hidden = self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        hidden.broadcast_mul(&mask.unsqueeze(2)?)?.sum(1)?.to_vec2()
    }
}

/// The file pads every text to 128 tokens and cuts it there: six times the work for a short text, half of a long one.
fn load_tokenizer(bytes: &[u8]) -> Result<Tokenizer, Error> {
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| broken("tokenizer", error))?;
    let truncation = TruncationParams { max_length: MAX_TOKENS, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(|error| broken("tokenizer", error))?;
    // Each batch is padded to its own longest text, in `pooled`.
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

fn broken(what: &str, error: impl std::fmt::Display) -> Error {
    Error::permanent(format!("the {what} of {MODEL} cannot be used although its hash is right: {error}"))
}
