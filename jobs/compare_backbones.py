"""ray job submit -- python jobs/compare_backbones.py [--scale smoke|mini|paper] [--seeds 3]"""

from experiments.figure6_backbones import EXPERIMENT
from mvlab.cli import submit

if __name__ == "__main__":
    submit(EXPERIMENT)
