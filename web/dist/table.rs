const ASSETS: &[Asset] = &[
    Asset {
        path: "/assets/index-Go7AwzqF.js",
        media_type: "text/javascript; charset=utf-8",
        etag: "\"2c56d0ee47c1bb0078436c79d31b70a0\"",
        identity: include_bytes!("assets/index-Go7AwzqF.js"),
        brotli: include_bytes!("assets/index-Go7AwzqF.js.br"),
        gzip: include_bytes!("assets/index-Go7AwzqF.js.gz"),
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
        path: "/assets/style-D8uzKWV2.css",
        media_type: "text/css; charset=utf-8",
        etag: "\"d51b7bb9ab3007c788fe187852090d5e\"",
        identity: include_bytes!("assets/style-D8uzKWV2.css"),
        brotli: include_bytes!("assets/style-D8uzKWV2.css.br"),
        gzip: include_bytes!("assets/style-D8uzKWV2.css.gz"),
    },
    Asset {
        path: "/index.html",
        media_type: "text/html; charset=utf-8",
        etag: "\"553a3be982eafd07eb25cfba92bf4695\"",
        identity: include_bytes!("index.html"),
        brotli: include_bytes!("index.html.br"),
        gzip: include_bytes!("index.html.gz"),
    },
];
