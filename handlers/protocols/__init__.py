"""What a row is, in its client's protocol: raw, KServe v1 or Open Inference v2."""
