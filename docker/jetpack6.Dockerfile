# JetPack 6: Ubuntu 22.04, Python 3.10, ROS 2 Humble, CUDA 12.6. Build on the Jetson:
#   docker build -f docker/jetpack6.Dockerfile -t emf_ros .
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV ROS_DISTRO=humble LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive

# Ubuntu and ROS remove old versions of their packages, so that pins would soon fail.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl gnupg \
 && curl -fsSL https://raw.githubusercontent.com/ros/rosdistro/master/ros.key \
      -o /usr/share/keyrings/ros-archive-keyring.gpg \
 && echo "deb [signed-by=/usr/share/keyrings/ros-archive-keyring.gpg] \
http://packages.ros.org/ros2/ubuntu jammy main" > /etc/apt/sources.list.d/ros2.list \
 && apt-get update \
 && apt-get install -y --no-install-recommends \
      python3-colcon-common-extensions python3-numpy python3-opencv python3-pip python3-tqdm \
      python3-venv python3-yaml ros-humble-ros-base ros-dev-tools \
 && rm -rf /var/lib/apt/lists/*

# NVIDIA's index has the wheel with CUDA for JetPack 6. Set WHEEL= (empty) for the CPU alone.
ARG INDEX=https://pypi.jetson-ai-lab.io/jp6/cu126
ARG WHEEL=onnxruntime-gpu==1.23.0
COPY docker/jetpack6.txt /opt/wheels.txt
RUN python3 -m venv --system-site-packages /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --no-deps --only-binary=:all: -r /opt/wheels.txt \
 && if [ -n "${WHEEL}" ]; then \
      /opt/venv/bin/pip uninstall -y onnxruntime \
      && /opt/venv/bin/pip install --no-cache-dir --no-deps --index-url "${INDEX}" "${WHEEL}"; \
    fi

WORKDIR /ws
COPY . src/emf_ros
RUN . /opt/ros/humble/setup.bash \
 && . /opt/venv/bin/activate \
 && colcon build \
 && . ./install/setup.bash \
 && ros2 run emf_ros fetch_weights

COPY docker/entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "emf_ros", "lift.launch.py"]
