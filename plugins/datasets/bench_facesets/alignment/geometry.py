"""The aligned five-point crop: the similarity transform that brings a face's landmarks to the template.

Landmarks are ``(5, 2)``: x, y of the left eye, the right eye, the nose, the left and the right corner of the mouth, as
they appear in the image, in pixels whose centres have integer coordinates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates

from bench import DataError

SIZE = 112
#: The landmarks in a crop of 112x112; a crop with 96 columns lacks 8 columns on the left and on the right.
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)


def similarity(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the similarity transform ``(2, 3)`` from the image to the crop with the least squared error, without
    reflection.

    Umeyama (1991); in the plane, a scaling with a rotation is one complex factor. Raises DataError if the landmarks
    are not finite or are all the same point.
    """
    xy = np.asarray(landmarks, dtype=np.float64)
    if not np.isfinite(xy).all() or (xy == xy[0]).all():
        raise DataError(f"expected five landmarks of a face, found {xy.round(1).tolist()}")
    points, target = xy @ (1, 1j), TEMPLATE @ (1, 1j)
    centred = points - points.mean()
    factor = np.vdot(centred, target) / np.vdot(centred, centred).real
    shift = target.mean() - factor * points.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def crop(image: NDArray[np.uint8], landmarks: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the aligned face, uint8 ``(112, 112, 3)``, of an image ``(h, w, 3)``: bilinear, black outside the image.

    A face more than twice as large as the crop is reduced by averaging first, so that no pixels are skipped.
    """
    matrix = similarity(landmarks)
    reduction = int(1 / np.hypot(*matrix[:, 0]))
    if reduction > 1:
        image = np.asarray(Image.fromarray(image).reduce(reduction))
        matrix = similarity((landmarks + 0.5) / reduction - 0.5)
    back = np.linalg.inv(matrix[:, :2])
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x, y = np.tensordot(back, np.stack([columns, rows]) - matrix[:, 2, None, None], axes=1)
    where = np.stack([y, x]).round(6)  # Without rounding, points on the image's edge could lie just outside it.
    channels = [
        map_coordinates(image[..., channel], where, output=np.float64, order=1, mode="constant") for channel in range(3)
    ]
    pixels: NDArray[np.uint8] = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return pixels


def displacement(landmarks: NDArray[np.float64]) -> float:
    """Return how far alignment moves the template's points, on average, in pixels; small for an aligned crop.

    Unlike the distance of the landmarks themselves, it does not depend on the shape and the pose of the face.
    """
    matrix = similarity(landmarks)
    moved = TEMPLATE @ matrix[:, :2].T + matrix[:, 2]
    return float(np.linalg.norm(moved - TEMPLATE, axis=1).mean())
