"""Ranks, recall at k, protocols, embedding a dataset, reports and pictures."""
