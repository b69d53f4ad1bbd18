"""Where an asset's data lives: a folder per asset, a folder per version in it, and a pointer to the published one.

    <storage>/<asset>/<version>/...                 what a materialization wrote
    <storage>/<asset>/<version>/_published.json     written when it was whole
    <storage>/<asset>/<version>.begun.json          there until the version is published or given up
    <storage>/<asset>/latest.json                   the same text as in _published.json: readers begin here

A partition has a folder of its own below that of its asset, with versions and a pointer: <asset>/partition=<key>/...
A version without a file that readers see is not published, unless its writer says that it may be empty.

A run that fails or is killed leaves the pointer where it was, so the previous version stays readable. The layout and
the rules are the same on this machine and on S3:

    storage     the resource: begin a version, publish it, delete old ones
    attempts    which attempt has a version in hand
    versions    what is written down of a version, what its name says, and when another has overtaken it
    address     which place an address means
    folder      what the rules need of a place; local and s3 are the two there are
"""

from emr_pipelines.programs.text import STORAGE_MARK
from emr_pipelines.storage.storage import Storage
from emr_pipelines.storage.versions import ABANDONED_AFTER, Published, Version

__all__ = ["ABANDONED_AFTER", "STORAGE_MARK", "Published", "Storage", "Version"]
