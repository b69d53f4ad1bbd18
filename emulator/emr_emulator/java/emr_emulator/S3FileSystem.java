package emr_emulator;

import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.util.EnumSet;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.CreateFlag;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.LocatedFileStatus;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RemoteIterator;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.fs.s3a.UnknownStoreException;
import org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme;
import org.apache.hadoop.util.Progressable;

/**
 * s3://bucket/key as the file `key` in the folder of the bucket, which is looked for at every call: a bucket that the
 * S3 API creates or deletes while a program runs is there, or is not, for the program too.
 */
public class S3FileSystem extends ViewFileSystemOverloadScheme {
  private static final String BUCKETS = "fs.emulator.buckets"; // the folder with a folder per bucket, as a path
  // The link leads to a scheme of its own, not to file:, whose class leaves a .crc file beside each object and cannot
  // be replaced, for SparkContext.textFile wants that one.
  private static final String RAW = "rawfile";
  private static final String RAW_CLASS = "org.apache.hadoop.fs.RawLocalFileSystem";

  private String bucket;
  private File folder;

  public S3FileSystem() throws IOException {
    super();
  }

  @Override
  public void initialize(URI uri, Configuration original) throws IOException {
    if (uri.getHost() == null) { // as S3A fails (HADOOP-17241): java.net.URI takes such a bucket for no host's name
      throw new NullPointerException("null uri host. Bucket " + uri.getAuthority() + " is not a valid host name");
    }
    bucket = uri.getHost();
    folder = new File(original.get(BUCKETS), bucket);
    Configuration conf = new Configuration(original);
    conf.set("fs." + RAW + ".impl", RAW_CLASS);
    conf.set("fs.viewfs.overload.scheme.target." + uri.getScheme() + ".impl", RAW_CLASS);
    String link = folder.toURI().toString().replaceFirst("file:/*", RAW + ":///");
    conf.set("fs.viewfs.mounttable." + bucket + ".linkFallback", link);
    super.initialize(uri, conf);
  }

  private void checkBucket(Path path) throws IOException {
    if (!folder.isDirectory()) {
      String said = "The specified bucket does not exist (Service: S3, Status Code: 404, Bucket: " + bucket + ")";
      throw new UnknownStoreException(
          makeQualified(path).toString(),
          "software.amazon.awssdk.services.s3.model.NoSuchBucketException: " + said + ":NoSuchBucket: " + said);
    }
  }

  @Override
  public FileStatus getFileStatus(Path path) throws IOException {
    checkBucket(path);
    return super.getFileStatus(path);
  }

  @Override
  public FileStatus[] listStatus(Path path) throws IOException {
    checkBucket(path);
    return super.listStatus(path);
  }

  @Override
  public RemoteIterator<LocatedFileStatus> listLocatedStatus(Path path) throws IOException {
    checkBucket(path);
    return super.listLocatedStatus(path);
  }

  @Override
  public FSDataInputStream open(Path path, int bufferSize) throws IOException {
    checkBucket(path);
    return super.open(path, bufferSize);
  }

  @Override
  public FSDataOutputStream create(
      Path path, FsPermission permission, boolean overwrite, int bufferSize, short replication, long blockSize,
      Progressable progress) throws IOException {
    checkBucket(path);
    return super.create(path, permission, overwrite, bufferSize, replication, blockSize, progress);
  }

  @Override
  public FSDataOutputStream createNonRecursive(
      Path path, FsPermission permission, EnumSet<CreateFlag> flags, int bufferSize, short replication, long blockSize,
      Progressable progress) throws IOException {
    checkBucket(path);
    return super.createNonRecursive(path, permission, flags, bufferSize, replication, blockSize, progress);
  }

  @Override
  public FSDataOutputStream append(Path path, int bufferSize, Progressable progress) throws IOException {
    throw new UnsupportedOperationException("Append is not supported by S3AFileSystem");
  }

  @Override
  public boolean mkdirs(Path path, FsPermission permission) throws IOException {
    checkBucket(path);
    return super.mkdirs(path, permission);
  }

  @Override
  public boolean rename(Path source, Path target) throws IOException {
    checkBucket(source);
    return super.rename(source, target);
  }

  @Override
  public boolean delete(Path path, boolean recursive) throws IOException {
    checkBucket(path);
    return super.delete(path, recursive);
  }
}
