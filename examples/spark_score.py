"""Score a folder of images on Spark with a bundle of patchebm; RESULTS is written as Parquet.

spark-submit spark_score.py part.patchebm IMAGES RESULTS

IMAGES and RESULTS are what Spark calls them, such as s3a://plant/line3. Executors need patchebm, pandas and
PyArrow.
"""

import re
import sys
from pathlib import Path

import pandas as pd
from pyspark import SparkFiles
from pyspark.sql import SparkSession

COLUMNS = "image string, score double, anomalous boolean, tail_probability double, error string"


def scorer(name):
    """Of the model, which Spark has copied to each executor, what `mapInPandas` calls for each partition."""

    def score(batches):
        # Imported here: this runs on the executors.
        import patchebm
        from patchebm.errors import ImageError

        model = patchebm.load(SparkFiles.get(name), threads=1)
        for batch in batches:
            rows = []
            for path, outcome in zip(
                batch["path"], model.outcomes(batch["content"], heat_maps=False), strict=True
            ):
                if isinstance(outcome, ImageError):
                    # It calls the image by its number in the partition.
                    sentence = re.sub(r"^image \d+", lambda _, path=path: path, str(outcome))
                    rows.append((path, None, None, None, sentence))
                else:
                    rows.append((path, outcome.score, outcome.anomalous, outcome.tail_probability, None))
            yield pd.DataFrame(rows, columns=[column.split()[0] for column in COLUMNS.split(", ")])

    return score


def main(model, images, results):
    """Scores all images below a folder."""
    spark = SparkSession.builder.appName("patchebm").getOrCreate()
    spark.sparkContext.addFile(model)
    # A batch is in memory whole: 64 photographs of 5 MB are 320 MB.
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 64)
    files = spark.read.format("binaryFile").option("recursiveFileLookup", True)
    content = (
        files.option("pathGlobFilter", "*.{png,jpg,jpeg,bmp,tif,tiff}").load(images).select("path", "content")
    )
    content.mapInPandas(scorer(Path(model).name), COLUMNS).write.parquet(results)
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
