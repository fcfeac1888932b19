const ASSETS: &[Asset] = &[
    Asset {
        path: "/assets/index-B23pHjQg.js",
        media_type: "text/javascript; charset=utf-8",
        etag: "\"68cf368d67dd557d167e3bbe38438981\"",
        identity: include_bytes!("assets/index-B23pHjQg.js"),
        brotli: include_bytes!("assets/index-B23pHjQg.js.br"),
        gzip: include_bytes!("assets/index-B23pHjQg.js.gz"),
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
        etag: "\"768ebd6129c9a32eef1145f4cf7f6a12\"",
        identity: include_bytes!("index.html"),
        brotli: include_bytes!("index.html.br"),
        gzip: include_bytes!("index.html.gz"),
    },
];
