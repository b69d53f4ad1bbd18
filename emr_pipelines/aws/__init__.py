"""AWS: the client and its error map, S3 objects, links to the console, credentials, redaction of secrets.

The only room that imports boto3 and botocore.
"""
