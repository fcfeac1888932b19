const ASSETS: &[Asset] = &[
    Asset {
        path: "/assets/index--Y1F-rfu.js",
        media_type: "text/javascript; charset=utf-8",
        etag: "\"d4c15c305e4f1d3a9eacc116f5dee051\"",
        identity: include_bytes!("assets/index--Y1F-rfu.js"),
        brotli: include_bytes!("assets/index--Y1F-rfu.js.br"),
        gzip: include_bytes!("assets/index--Y1F-rfu.js.gz"),
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
        path: "/assets/style-Bk4xRyw4.css",
        media_type: "text/css; charset=utf-8",
        etag: "\"1e46da5050507f615d39641d01258738\"",
        identity: include_bytes!("assets/style-Bk4xRyw4.css"),
        brotli: include_bytes!("assets/style-Bk4xRyw4.css.br"),
        gzip: include_bytes!("assets/style-Bk4xRyw4.css.gz"),
    },
    Asset {
        path: "/index.html",
        media_type: "text/html; charset=utf-8",
        etag: "\"534dec7572ee529ff1e76e0614bec5d8\"",
        identity: include_bytes!("index.html"),
        brotli: include_bytes!("index.html.br"),
        gzip: include_bytes!("index.html.gz"),
    },
];
