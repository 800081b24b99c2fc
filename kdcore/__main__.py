"""`python -m kdcore`: one command per stage of the pipeline."""

from kdcore.cli import main

if __name__ == "__main__":
    main()
