# The controller's image:  docker build -t registry.example.com/rollout-controller:0.1.0 .
# The Python is the one that the tests run with. What is installed is compiled here: a start costs 0.7 s less, and nothing is
# written at run time (the chart makes the file system read-only).
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY rollout_controller rollout_controller
RUN python -m venv /opt/rollouts \
 && /opt/rollouts/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt . \
 && /opt/rollouts/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/rollouts/lib

FROM python:${PYTHON}-slim
COPY --from=build /opt/rollouts /opt/rollouts
ENV PATH=/opt/rollouts/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["rollouts"]
CMD ["controller", "--config", "/etc/rollout-controller/config.yaml", "--log-format", "json", "--log-level", "info"]
