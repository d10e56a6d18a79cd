"""Studies: an experiment at a scale on a data set. A study is prepared without touching anything, then carried out."""
