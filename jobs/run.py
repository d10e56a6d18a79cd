"""ray job submit -- python jobs/run.py FILE|NAME [--scale smoke|mini|paper] [--seeds 3]"""

from mvlab.cli import submit_file

if __name__ == "__main__":
    submit_file()
