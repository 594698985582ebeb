"""The decorator of every component: one image that has vigil and kfp's executor; nothing is installed at the start.

The image is VIGIL_IMAGE as it stands when a pipeline is compiled; releases give it by digest.
"""

import functools

from kfp import dsl

from vigil.settings import load_settings

IMAGE = load_settings().image

component = functools.partial(dsl.component, base_image=IMAGE, install_kfp_package=False)
