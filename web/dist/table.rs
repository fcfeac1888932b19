const ASSETS: &[Asset] = &[
    Asset {
        path: "/assets/index-277NqdC1.js",
        media_type: "text/javascript; charset=utf-8",
        etag: "\"aa6a598d032fae8bb381e7f2330a4ef7\"",
        identity: include_bytes!("assets/index-277NqdC1.js"),
        brotli: include_bytes!("assets/index-277NqdC1.js.br"),
        gzip: include_bytes!("assets/index-277NqdC1.js.gz"),
    },
    Asset {
        path: "/assets/mark-BBqwChrl.svg",
        media_type: "image/svg+xml",
        etag: "\"57f216bedf9ca956ee4cfcb3390c9609\"",
        identity: include_bytes!("assets/mark-BBqwChrl.svg"),
        brotli: include_bytes!("assets/mark-BBqwChrl.svg.br"),
        gzip: include_bytes!("assets/mark-BBqwChrl.svg.gz"),
    },
    Asset {
        path: "/assets/style-D0gIIdDx.css",
        media_type: "text/css; charset=utf-8",
        etag: "\"5f78b036e302306bf886139d601fc746\"",
        identity: include_bytes!("assets/style-D0gIIdDx.css"),
        brotli: include_bytes!("assets/style-D0gIIdDx.css.br"),
        gzip: include_bytes!("assets/style-D0gIIdDx.css.gz"),
    },
    Asset {
        path: "/index.html",
        media_type: "text/html; charset=utf-8",
        etag: "\"3a4f82f7427dc3b8f8ae9b466e9736fd\"",
        identity: include_bytes!("index.html"),
        brotli: include_bytes!("index.html.br"),
        gzip: include_bytes!("index.html.gz"),
    },
];
