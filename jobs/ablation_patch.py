"""ray job submit -- python jobs/ablation_patch.py [--scale smoke|mini|paper] [--seeds 3]"""

from mvlab.cli import submit

from experiments.table6_patch_size import EXPERIMENT

if __name__ == "__main__":
    submit(EXPERIMENT)
