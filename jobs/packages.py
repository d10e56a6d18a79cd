"""ray job submit -- python jobs/packages.py [--only mobilevit-s-2,2,2-256] [--precision fp32] [--out DIR]"""

from experiments.costs import PACKAGES
from mvlab.cli.tables import submit_packages

if __name__ == "__main__":
    submit_packages(PACKAGES)
