/// The durable steps of an event, in their order.
export const STEPS = ["accept", "etl", "embedding", "judge", "publish"];
