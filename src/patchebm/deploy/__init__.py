"""Models on the line: what scores without torch, and what feeds it."""
