package org.apache.hadoop.fs.s3a;

import org.apache.hadoop.fs.PathIOException;

/** What S3A raises for a bucket that does not exist; Spark from pip does not bring S3A. */
public class UnknownStoreException extends PathIOException {
  public UnknownStoreException(String path, String message) {
    super(path, message);
  }
}
