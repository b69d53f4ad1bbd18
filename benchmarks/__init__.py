"""Benchmarks of the programs and the orchestration: ratios against peers in the same run on the same machine.

    python -m benchmarks.word_count | pi | orchestration | poller | imports   [--quick] [--json] [--rounds N]

Each contender runs in processes of its own, in turn (A B C A B C), and the medians are compared. Answers are compared
before times: a contender whose answer differs ends the benchmark with an error. The peers come with the extra `bench`.
"""
