"""Indices of MediaPipe's face mesh by facial feature. `HalfBody.mesh_vertices` says where each point lies on the body.

R is the person's right, which a camera in front sees on the left."""

EYE_CONTOURS = {  # around each opening: outer corner, lower lid, inner corner, upper lid
    "R": (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    "L": (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
}
LIPS = (  # outer, then inner edge
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
)
FACE_OUTLINE = (  # points that slide along the silhouette as the head turns
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
