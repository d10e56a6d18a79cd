"""A study is an experiment at a scale on a data set: prepared without touching anything, then carried out."""
