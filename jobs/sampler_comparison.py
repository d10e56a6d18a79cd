"""ray job submit -- python jobs/sampler_comparison.py [--scale smoke|mini|paper] [--seeds 3]"""

from experiments.table5_sampler import EXPERIMENT
from mvlab.cli import submit

if __name__ == "__main__":
    submit(EXPERIMENT)
