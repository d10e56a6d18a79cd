"""ray job submit -- python jobs/train.py RECIPE [--scale smoke|mini|paper] [--seeds 3]"""

from experiments.train import TRAININGS
from mvlab.cli import submit_recipe

if __name__ == "__main__":
    submit_recipe(TRAININGS)
