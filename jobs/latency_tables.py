"""ray job submit -- python jobs/latency_tables.py [--only table3] [--repeats 100] [--device cuda --batch 32]"""

from experiments.costs import LATENCIES
from mvlab.cli.tables import submit_latencies

if __name__ == "__main__":
    submit_latencies(LATENCIES)
