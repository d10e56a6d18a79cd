"""ray job submit -- python jobs/ablation_ls_ema.py [--scale smoke|mini|paper] [--seeds 3]"""

from experiments.table7_label_smoothing_ema import EXPERIMENT
from mvlab.cli import submit

if __name__ == "__main__":
    submit(EXPERIMENT)
