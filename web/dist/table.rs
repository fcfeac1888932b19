const ASSETS: &[Asset] = &[
    Asset {
        path: "/assets/index-aSfsa2x8.js",
        media_type: "text/javascript; charset=utf-8",
        etag: "\"e0fa53e08708d945db2c05d0b0e2dfe8\"",
        identity: include_bytes!("assets/index-aSfsa2x8.js"),
        brotli: include_bytes!("assets/index-aSfsa2x8.js.br"),
        gzip: include_bytes!("assets/index-aSfsa2x8.js.gz"),
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
        path: "/assets/style-DV5Lqy7l.css",
        media_type: "text/css; charset=utf-8",
        etag: "\"98c0cf9bf087103796050806a9f51948\"",
        identity: include_bytes!("assets/style-DV5Lqy7l.css"),
        brotli: include_bytes!("assets/style-DV5Lqy7l.css.br"),
        gzip: include_bytes!("assets/style-DV5Lqy7l.css.gz"),
    },
    Asset {
        path: "/index.html",
        media_type: "text/html; charset=utf-8",
        etag: "\"5af305553ccfec4afa389c408d90969c\"",
        identity: include_bytes!("index.html"),
        brotli: include_bytes!("index.html.br"),
        gzip: include_bytes!("index.html.gz"),
    },
];
