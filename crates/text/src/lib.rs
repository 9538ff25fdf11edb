//! The local brains: normalising, language, sentiment, toxicity, topics, summary.
