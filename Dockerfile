# Page and API of a finished run, on a CPU: see compose.yaml.
FROM python:3.12-slim

# Where a torch without CUDA comes from: the address of PyTorch's own index of CPU wheels. Without it the
# image is some gigabytes larger.
ARG TORCH_INDEX=""

ENV PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 OMP_NUM_THREADS=2
WORKDIR /study
RUN useradd --create-home --uid 10001 dualrec && chown dualrec /study

COPY requirements-torch.txt requirements.txt ./
# Browsers, style and tests stay out.
RUN grep -vE '^((playwright|schemathesis|hypothesis|pytest|ruff|import-linter|nbstripout)[=_-]|mypy=)' requirements.txt \
      > /tmp/requirements.txt \
 && pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r requirements-torch.txt \
 && pip install --no-cache-dir --no-deps -r /tmp/requirements.txt

COPY --chown=dualrec . .
RUN pip install --no-cache-dir --no-deps --editable . \
 && mkdir -p data && chown dualrec data

USER dualrec
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=40m \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# An image has no git. What is missing is trained first.
CMD ["sh", "-c", "{ test -d .git || dvc config --local core.no_scm true; } \
  && dvc repro --quiet rerank_ablation && exec dualrec serve --host 0.0.0.0"]
