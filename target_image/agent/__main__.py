"""`python -m target_image.agent` is `lundock-target serve`."""

import sys

from target_image.cli.main import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
