"""ray job submit -- python jobs/ablation_patch.py [--scale smoke|mini|paper] [--seeds 3]"""

from experiments.table6_patch_size import EXPERIMENT
from mvlab.cli import submit

if __name__ == "__main__":
    submit(EXPERIMENT)
