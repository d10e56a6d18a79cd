"""ray job submit -- python jobs/ablation_weight_decay.py [--scale smoke|mini|paper] [--seeds 3]"""

from experiments.figure11_weight_decay import EXPERIMENT
from mvlab.cli import submit

if __name__ == "__main__":
    submit(EXPERIMENT)
