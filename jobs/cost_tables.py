"""ray job submit -- python jobs/cost_tables.py [--only table4] [--out DIR]"""

from experiments.costs import FACTS
from mvlab.cli.tables import submit_facts

if __name__ == "__main__":
    submit_facts(FACTS)
