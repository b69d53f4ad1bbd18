"""Where an asset's data lives: a folder per asset, a folder per version in it, and a pointer to the published version.

    <storage>/<asset>/<version>/...                 the data that a materialization wrote
    <storage>/<asset>/<version>/_published.json     written when the data is complete
    <storage>/<asset>/<version>.begun.json          exists until the version is published or given up
    <storage>/<asset>/latest.json                   the pointer, a copy of _published.json: readers start here

A partition has a folder of its own below that of its asset, with versions and a pointer: <asset>/partition=<key>/...
A version without a file that readers see is not published, unless its writer says that it may be empty.

A run that fails or is killed leaves the pointer where it was, so the previous version stays readable. The layout and
the rules are the same on this machine and on S3:

    storage     the resource: begin a version, publish it, delete old ones
    attempts    begin, resume, give up and abandon versions: which attempt owns one
    versions    the records about a version, its name, and which of two versions is newer
    address     from an address to a local folder or an S3 prefix
    folder      the protocol of a folder, which local.py and s3.py implement
"""

from emr_pipelines.remote.files import STORAGE_MARK
from emr_pipelines.storage.storage import Storage
from emr_pipelines.storage.versions import ABANDONED_AFTER, Published, Version

__all__ = ["ABANDONED_AFTER", "STORAGE_MARK", "Published", "Storage", "Version"]
