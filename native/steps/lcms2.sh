# shellcheck shell=bash
# Converts colours to sRGB. The fast-float and threaded plugins are GPL: they stay out.
build_meson -Djpeg=disabled -Dtiff=disabled -Dutils=false -Dfastfloat=false -Dthreaded=false
